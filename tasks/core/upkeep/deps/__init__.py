"""`invoke deps`: what each UDF declares, adds and imports, and what several have in common."""
