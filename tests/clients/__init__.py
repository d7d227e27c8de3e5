"""Programs that send mail, each through Waypost as its users would set it up."""
