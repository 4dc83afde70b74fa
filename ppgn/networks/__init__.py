"""What conditions and encoders look through: frozen weights, their preprocessing and their labels."""
