"""Screens: they turn keys into calls on the state and the store, and hand the results to widgets."""
