"""A decision as Kubernetes objects, vLLM's arguments and Envoy's configuration. Functions of values, like the plan."""
