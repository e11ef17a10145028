"""How the commands of archives are given on the command line."""
