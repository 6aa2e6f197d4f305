"""Ansible through ansible-runner: the only room that knows it."""
