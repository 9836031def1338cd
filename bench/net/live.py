"""A live job and what feeds it, as one command: live.py JOB.yaml THALWEG SENDER... Prints what the sender printed and
the job's summary as one object, once the job has drained."""

import json
import signal
import subprocess
import sys

job, thalweg, *sender = sys.argv[1:]
process = subprocess.Popen([thalweg, "run", job, "--json"], stdout=subprocess.PIPE)
sent = json.loads(subprocess.run(sender, check=True, stdout=subprocess.PIPE).stdout)
process.send_signal(signal.SIGTERM)
summary = json.loads(process.communicate()[0])
measured = {"measured_seconds": sent["measured_seconds"]} if "measured_seconds" in sent else {}
print(json.dumps({**summary, **measured, "sender": sent}))
sys.exit(process.returncode)
