"""What is measured of samples."""
