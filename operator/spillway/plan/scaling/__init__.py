"""How many replicas: demand, its forecast, and what each replica is worth."""
