"""What the Kubernetes API server says of this node's pods: list and watch, over HTTP."""
