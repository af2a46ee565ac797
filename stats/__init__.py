"""Estimators as pure functions on arrays, and one module that asks the store and fills a table."""
