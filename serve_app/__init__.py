"""The service: Serve deployments, adapters to broker, database and storage, commands."""
