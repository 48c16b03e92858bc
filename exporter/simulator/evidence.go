package simulator

import "strings"

// item writes what evidence of all kinds begins with; a brace ends it.
func (t *text) item(kind string, at ticks, verdict, remediation string) {
	t.raw(`{"@odata.type":"#microsoft.graph.security.`)
	t.raw(kind)
	t.raw(`Evidence","createdDateTime":`)
	t.time(at)
	t.raw(`,"verdict":"`)
	t.raw(graphWord(verdict))
	t.raw(`","remediationStatus":"`)
	t.raw(graphWord(remediation))
	t.raw(`","remediationStatusDetails":null,"roles":[],"detailedRoles":[],"tags":[]`)
}

// graphDevice writes the device, which with Graph is evidence like any other.
func (c *content) graphDevice(t *text, at ticks, device uint64) {
	t.item("device", at, "Suspicious", "None")
	t.raw(`,"mdeDeviceId":"`)
	c.deviceID(t, device)
	t.raw(`","azureAdDeviceId":`)
	if t.below(3) == 0 {
		t.raw(`null`)
	} else {
		t.raw(`"`)
		t.guid()
		t.raw(`"`)
	}
	t.raw(`,"deviceDnsName":"ws-`)
	t.number(int64(device))
	t.raw(`.corp.fabrikam.example","osPlatform":`)
	t.raw(t.pick(platforms))
	t.raw(`,"healthStatus":"active","riskScore":"`)
	t.raw(graphWord(t.pick(severities)))
	t.raw(`","rbacGroupName":"`)
	t.raw(t.pick(groups))
	t.raw(`","firstSeenDateTime":`)
	t.time(firstSeen + ticks(t.below(300*86400))*second)
	t.raw(`,"defenderAvStatus":"updated","onboardingStatus":"onboarded","vmMetadata":null,"loggedOnUsers":[]}`)
}

// graphEvidence writes one piece of evidence of a random kind, by the draws
// that entity makes.
func (c *content) graphEvidence(t *text, at ticks, device, user, file uint64) {
	kind := t.below(10)
	seen := at + ticks(t.below(4))*second
	verdict, remediation := t.pick(verdicts), t.pick(remediations)
	switch kind {
	case 0, 1, 2:
		t.item("process", seen, verdict, remediation)
		t.raw(`,"imageFile":`)
		c.graphFile(t, file)
		command := &commands[t.below(len(commands))]
		t.raw(`,"processId":`)
		t.number(int64(t.below(20000)))
		t.raw(`,"processCommandLine":"`)
		t.raw(command[0])
		t.number(int64(t.below(20000)))
		t.raw(command[1])
		t.hex(8)
		t.raw(command[2])
		t.raw(`","processCreationDateTime":`)
		t.time(at - ticks(t.below(int(100*second))))
		t.raw(`,"parentProcessId":`)
		t.number(int64(t.below(20000)))
		t.raw(`,"parentProcessCreationDateTime":`)
		t.time(at - 3600*second - ticks(t.below(int(100*second))))
		t.raw(`,"mdeDeviceId":"`)
		c.deviceID(t, device)
		t.raw(`"}`)
	case 3, 4:
		t.item("file", seen, verdict, remediation)
		t.raw(`,"fileDetails":`)
		c.graphFile(t, file)
		t.raw(`,"mdeDeviceId":"`)
		c.deviceID(t, device)
		t.raw(`"}`)
	case 5, 6:
		t.item("user", seen, verdict, remediation)
		t.raw(`,"userAccount":{`)
		account := text{b: nil}
		c.account(&account, user)
		t.raw(strings.Replace(string(account.b[1:]), `"aadUserId"`, `"azureAdUserId"`, 1))
		t.raw(`}}`)
	case 7:
		t.item("ip", seen, verdict, remediation)
		t.raw(`,"ipAddress":"203.0.113.`)
		t.number(int64(t.below(256)))
		t.raw(`","countryLetterCode":null}`)
	case 8:
		t.item("url", seen, verdict, remediation)
		t.raw(`,"url":"https:\/\/`)
		t.raw(t.pick(sites))
		t.raw(`.contoso.example\/r?a=1&b=<2>&k=`)
		t.hex(8)
		t.raw(`"}`)
	default:
		t.item("analyzedMessage", seen, verdict, remediation)
		t.raw(`,"p1Sender":{"emailAddress":"billing@`)
		t.raw(t.pick(sites))
		t.raw(`.contoso.example"},"recipientEmailAddress":"`)
		c.userName(t, user)
		t.raw(`@fabrikam.example","subject":"`)
		t.raw(t.pick(subjects))
		t.raw(`","deliveryAction":"deliveredAsSpam","internetMessageId":"<`)
		t.guid()
		t.raw(`@contoso.example>"}`)
	}
}

func (c *content) graphFile(t *text, file uint64) {
	t.raw(`{"sha1":"`)
	c.as(t, streamFile, file, func() {
		t.hex(40)
		t.raw(`","sha256":"`)
		t.hex(64)
		t.raw(`","fileName":"`)
		t.raw(t.pick(files))
		t.raw(`","filePath":"`)
		t.raw(t.pick(directories))
		t.raw(`","fileSize":null}`)
	})
}
