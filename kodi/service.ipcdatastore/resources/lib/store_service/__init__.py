"""The service itself, and what its settings page does."""
