"""Widgets: they know the state's types and never the store."""
