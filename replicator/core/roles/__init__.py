"""Primary or replica: how a role is taken, kept and handed over."""
