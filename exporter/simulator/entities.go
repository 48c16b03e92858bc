package simulator

// Devices, users and files belong to the tenant: they are numbered, and look
// the same wherever they turn up.

// as writes with another random stream and goes on with the present one.
func (c *content) as(t *text, stream, of uint64, write func()) {
	present := t.rng
	c.reseed(t, stream, of, 0)
	write()
	t.rng = present
}

func (c *content) deviceID(t *text, device uint64) {
	c.as(t, streamDevice, device, func() { t.hex(40) })
}

func (c *content) device(t *text, device uint64) {
	t.raw(`{"mdatpDeviceId":"`)
	c.deviceID(t, device)
	t.raw(`","aadDeviceId":`)
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
	t.raw(`,"healthStatus":"Active","riskScore":"`)
	t.raw(t.pick(severities))
	t.raw(`","rbacGroupName":"`)
	t.raw(t.pick(groups))
	t.raw(`","firstSeen":`)
	t.time(firstSeen + ticks(t.below(300*86400))*second)
	t.raw(`,"tags":[],"defenderAvStatus":"Updated","onboardingStatus":"Onboarded","vmMetadata":null}`)
}

// firstSeen is 2025-01-01T00:00:00.0331027Z.
const firstSeen = ticks(1735689600)*second + 331027

// entity writes one entity of a random type.
func (c *content) entity(t *text, at ticks, device, user, file uint64) {
	switch t.below(10) {
	case 0, 1, 2:
		t.evidence("Process", at)
		c.file(t, file)
		command := &commands[t.below(len(commands))]
		t.raw(`,"processId":`)
		t.number(int64(t.below(20000)))
		t.raw(`,"processCommandLine":"`)
		t.raw(command[0])
		t.number(int64(t.below(20000)))
		t.raw(command[1])
		t.hex(8)
		t.raw(command[2])
		t.raw(`","processCreationTime":`)
		t.time(at - ticks(t.below(int(100*second))))
		t.raw(`,"parentProcessId":`)
		t.number(int64(t.below(20000)))
		t.raw(`,"parentProcessCreationTime":`)
		t.time(at - 3600*second - ticks(t.below(int(100*second))))
		c.onDevice(t, device)
	case 3, 4:
		t.evidence("File", at)
		c.file(t, file)
		c.onDevice(t, device)
	case 5, 6:
		t.evidence("User", at)
		c.account(t, user)
		t.raw(`}`)
	case 7:
		t.evidence("Ip", at)
		t.raw(`,"ipAddress":"203.0.113.`)
		t.number(int64(t.below(256)))
		t.raw(`"}`)
	case 8:
		t.evidence("Url", at)
		t.raw(`,"url":"https:\/\/`)
		t.raw(t.pick(sites))
		t.raw(`.contoso.example\/r?a=1&b=<2>&k=`)
		t.hex(8)
		t.raw(`"}`)
	default:
		t.evidence("MailMessage", at)
		t.raw(`,"sender":"billing@`)
		t.raw(t.pick(sites))
		t.raw(`.contoso.example","recipient":"`)
		c.userName(t, user)
		t.raw(`@fabrikam.example","subject":"`)
		t.raw(t.pick(subjects))
		t.raw(`","deliveryAction":"DeliveredAsSpam","internetMessageId":"<`)
		t.guid()
		t.raw(`@contoso.example>"}`)
	}
}

// evidence writes what entities of all types begin with.
func (t *text) evidence(entityType string, at ticks) {
	t.raw(`{"entityType":"`)
	t.raw(entityType)
	t.raw(`","evidenceCreationTime":`)
	t.time(at + ticks(t.below(4))*second)
	t.raw(`,"verdict":"`)
	t.raw(t.pick(verdicts))
	t.raw(`","remediationStatus":"`)
	t.raw(t.pick(remediations))
	t.raw(`"`)
}

func (c *content) file(t *text, file uint64) {
	t.raw(`,"sha1":"`)
	c.as(t, streamFile, file, func() {
		t.hex(40)
		t.raw(`","sha256":"`)
		t.hex(64)
		t.raw(`","fileName":"`)
		t.raw(t.pick(files))
		t.raw(`","filePath":"`)
		t.raw(t.pick(directories))
		t.raw(`"`)
	})
}

func (c *content) onDevice(t *text, device uint64) {
	t.raw(`,"deviceId":"`)
	c.deviceID(t, device)
	t.raw(`"}`)
}

func (c *content) userName(t *text, user uint64) {
	t.raw(givenNames[user%uint64(len(givenNames))])
	t.raw(`.`)
	t.number(int64(user))
}

func (c *content) account(t *text, user uint64) {
	t.raw(`,"accountName":"`)
	c.userName(t, user)
	t.raw(`","domainName":"CORP","userSid":"S-1-5-21-1111-2222-3333-`)
	t.number(int64(1000 + user))
	t.raw(`","aadUserId":"`)
	c.as(t, streamUser, user, t.guid)
	t.raw(`","userPrincipalName":"`)
	c.userName(t, user)
	t.raw(`@fabrikam.example"`)
}
