"""The command line of the tests' Django project, run as a program."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[3]))
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.hosts.django_project.settings"
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
