"""`peregrine top` as a live terminal screen: a source of readings, what is made of them, and the screen itself."""
