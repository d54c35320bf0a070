"""The cluster that the end-to-end tests and the demo run on: kind where Docker runs, otherwise a real node built here."""
