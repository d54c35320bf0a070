"""What of a running workload could be had for less, with the field to change."""
