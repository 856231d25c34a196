"""``python -m multinic_lab``: the commands of ``multinic lab`` by themselves."""

from multinic_lab.cli import lab

lab(prog_name="multinic lab")
