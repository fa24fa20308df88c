"""Small programs, each with a fault that only a misfortune of the network shows. `repaired` runs its sound twin."""
