"""stub while developing"""


def write_report(folder):
    return folder
