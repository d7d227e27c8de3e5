"""How many rows a step of a deletion may have, as `node.maintenance` adapts it to the time that steps take."""


def share_of(limit: int, share: float) -> int:
    """That share of a limit, at least one."""
    return max(1, int(limit * share))
