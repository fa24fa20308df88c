"""The hunt: which smallest misfortune of its packets makes a program fail."""
