"""The nouns: settings, UDFs, fingerprints, plans, the engine, reports. No task lives here."""
