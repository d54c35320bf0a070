"""Envoy's configuration of a workload's gateway, part by part; `config` puts it together."""
