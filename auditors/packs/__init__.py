"""Preference packs: folders of TOML, one file for each preference."""
