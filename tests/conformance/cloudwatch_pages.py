"""Where CloudWatch documents what its alarms do."""

from typing import Final

_GUIDE: Final = "https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring"

EVALUATION: Final = f"{_GUIDE}/alarm-evaluation.html"
MISSING_DATA: Final = f"{_GUIDE}/alarms-and-missing-data.html"
METRIC_MATH: Final = f"{_GUIDE}/using-metric-math.html"
NOTIFICATIONS: Final = f"{_GUIDE}/Notify_Users_Alarm_Changes.html"
LAMBDA_ACTIONS: Final = f"{_GUIDE}/alarms-and-actions-Lambda.html"
PUT_METRIC_ALARM: Final = (
    "https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_PutMetricAlarm.html"
)
ALARM_HISTORY: Final = (
    "https://docs.aws.amazon.com/AmazonCloudWatch/latest/APIReference/API_DescribeAlarmHistory.html"
)
