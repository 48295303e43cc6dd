"""People filmed by several calibrated cameras, as records."""
