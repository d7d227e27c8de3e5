"""SMTP out: queue, upstreams, attempts, retries, notices to the sender, signatures."""
