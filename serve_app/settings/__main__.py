"""`python -m serve_app.settings` prints the table for the README; with `env`, the `.env.example`."""

import sys

from serve_app.settings.docs import env_example, settings_table

sys.stdout.write(env_example() if sys.argv[1:] == ["env"] else settings_table() + "\n")
