"""Tables and lists that users bring, with what other tools write."""
