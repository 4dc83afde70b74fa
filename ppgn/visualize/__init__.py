"""What networks look for, in pictures."""
