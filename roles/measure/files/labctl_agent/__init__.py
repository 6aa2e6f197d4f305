"""The resident helper on one node while samples are measured: standard library only, Python 3.8 or newer.

The controller sends it as a bundle and starts it once per node, so that a sample costs no new login and no new
interpreter. It knows nothing of the tool that measures: command lines, the server and time limits are data.
"""
