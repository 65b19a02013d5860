"""What an operator runs to size a machine."""
