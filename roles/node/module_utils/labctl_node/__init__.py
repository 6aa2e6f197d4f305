"""What the modules of all roles share. Roles get it by depending on role `node`; README.md says what is where."""
