"""Names of a workload's objects. The engine Deployment's is in plan.names, because the decision carries it."""


def service(workload: str) -> str:
    """Return the Service that clients call; the stable URL's host."""
    return workload


def service_account(workload: str) -> str:
    """Return the account all pods run under; it has no token and no rights."""
    return workload


def gateway(workload: str) -> str:
    """Return the gateway's Deployment, ConfigMap of static files, PodDisruptionBudget, NetworkPolicy and autoscaler."""
    return f"{workload}-gateway"


def gateway_cap(workload: str) -> str:
    """Return the ConfigMap of the concurrency cap, which changes with the ready replicas."""
    return f"{workload}-gateway-cap"


def replicas(workload: str) -> str:
    """Return the headless Service in which ready replicas are found."""
    return f"{workload}-replicas"


def engine(workload: str) -> str:
    """Return what covers the replicas of all pools: PodDisruptionBudget and NetworkPolicy."""
    return f"{workload}-engine"


def learned(workload: str) -> str:
    """Return the ConfigMap in which what was learned is kept."""
    return f"{workload}-learned"


def ledger(workload: str) -> str:
    """Return the ConfigMap in which the month's money is kept."""
    return f"{workload}-ledger"
