"""Models, the audit loop, judges, studies and the engine that runs them; no terminal is needed here."""
