"""What docs/ and the packaging say is what the program does."""
