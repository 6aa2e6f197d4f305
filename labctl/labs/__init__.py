"""Where nodes come from: the labs of this machine, clusters behind a kubeconfig; and who holds them."""
