"""Why a night's result is what it is: causes of false alarms, and the steps at which reals were lost."""
