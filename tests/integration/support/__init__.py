"""What the tests of the whole program share: pictures, networks, a server to start and to talk to."""
