"""What stands between the ports of `actors.ports` and the world: databases, stores, brokers."""
