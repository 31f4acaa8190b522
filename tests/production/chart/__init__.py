"""The chart: rendered by Helm, validated as Kubernetes would, and held to what an operator relies on."""
