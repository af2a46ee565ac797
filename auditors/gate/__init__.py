"""The validity gate: what is looked for in a transcript before judges read it."""
