"""What every transformer here is built of."""
