"""What measures: a program's command line, and its output as a neutral reading."""
