"""What the modules of all roles share. Roles get it by depending on role `node`; README.md says what is where."""

import os

# Who became root by su has the search path of the user before, without the tools that are root's.
for _directory in ("/usr/local/sbin", "/usr/sbin", "/sbin"):
    if _directory not in os.environ.get("PATH", "").split(os.pathsep):
        os.environ["PATH"] = os.environ.get("PATH", os.defpath) + os.pathsep + _directory
