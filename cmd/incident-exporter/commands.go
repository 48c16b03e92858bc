package main

import "github.com/spf13/cobra"

// commands lists every command. Each is a method of app in a file of its own.
func (a *app) commands() []*cobra.Command {
	return []*cobra.Command{
		a.runCommand(),
		a.exportCommand(),
		a.checkCommand(),
		a.tokenCommand(),
		a.consentURLCommand(),
		a.compareCommand(),
		a.verifyCommand(),
		a.listCommand(),
		a.showCommand(),
		a.healthCommand(),
		a.configCommand(),
		a.simulateCommand(),
		a.demoCommand(),
		a.versionCommand(),
	}
}
