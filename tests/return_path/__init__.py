"""What comes back by mail: reports, automatic replies and late bounces."""
