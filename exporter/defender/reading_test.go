package defender_test

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"incident-exporter/exporter"
	"incident-exporter/exporter/defender"
	"incident-exporter/exporter/simulator"
)

// Two refusals of what is right, at the beginning: the run goes on, and the
// next one asks as if nothing had been.
func TestStrayRefusals(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 730}, nil, nil)
		var calls atomic.Int64
		filters := []string{}
		tn.sim.Change(func(b *simulator.Behaviour) {
			b.Fail = func(r *http.Request, _ int) simulator.Fault {
				if r.URL.Path != "/api/incidents" {
					return simulator.NoFault
				}
				filters = append(filters, r.URL.Query().Get("$filter"))
				if calls.Add(1) <= 2 {
					return simulator.Stray400
				}
				return simulator.NoFault
			}
		})
		tn.all()
		tn.seconds(0)
		tn.source.Begin(false, tn.from)
		tn.archive, filters = newArchive(), nil
		if n := tn.all(); n > 10 || !strings.Contains(filters[0], " lt ") {
			t.Errorf("%d calls, the first with %s", n, filters[0])
		}
	})
}

// What refusals, and now and then one, come to: nothing is lost, and no run is
// spoiled by one but its own.
func TestRefusalsNowAndThen(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 730}, func(b *simulator.Behaviour) { b.Stray400Rate = 0.05 }, nil)
		time.Sleep(2 * time.Minute)
		to := tn.newest()
		for range 40 {
			tn.source.Begin(false, tn.from)
			if _, err := tn.read(tn.from, to); err == nil {
				break
			}
		}
		tn.kept(to)
	})
}

// A cap that was there for a time is not remembered.
func TestPageCapThatGoes(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 1000}, func(b *simulator.Behaviour) { b.PageCap = 40 }, nil)
		if n := tn.all(); n > 40 {
			t.Errorf("%d calls in pages of 40", n)
		}
		tn.sim.Change(func(b *simulator.Behaviour) { b.PageCap = 0 })
		tn.archive = newArchive()
		tn.source.Begin(false, tn.from)
		if n := tn.all(); n > 13 {
			t.Errorf("%d calls in pages of 100", n)
		}
		tn.seconds(0)
	})
}

// Orders that are not that of update time, where almost nothing is updated
// after it was created: they look alike for long.
func TestOrdersThatLookAlike(t *testing.T) {
	for _, order := range []simulator.Order{simulator.ByCreation, simulator.ByIDDescending, simulator.ByID, simulator.ByStatus, simulator.ByDay, simulator.InGroups, simulator.OldestFirst, simulator.Shuffled} {
		in(t, func(t *testing.T) {
			tn := newTenant(t, simulator.Options{}, func(b *simulator.Behaviour) { b.Order = order }, nil)
			for n := range 600 {
				time.Sleep(20 * time.Minute)
				tn.sim.Create()
				if n%120 == 100 {
					if _, err := tn.sim.Update(tn.sim.RandomIDs(1)[0]); err != nil {
						t.Fatal(err)
					}
				}
			}
			if n := tn.all(); n > 40 {
				t.Errorf("order %d: %d calls", order, n)
			}
			tn.seconds(0)
		})
	}
}

// An order that becomes another one.
func TestOrderThatChanges(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 2000}, nil, nil)
		var calls atomic.Int64
		tn.sim.Change(func(b *simulator.Behaviour) {
			b.Fail = func(*http.Request, int) simulator.Fault {
				if calls.Add(1) == 8 {
					tn.sim.Change(func(b *simulator.Behaviour) { b.Order = simulator.ByID })
				}
				return simulator.NoFault
			}
		})
		time.Sleep(2 * time.Minute)
		to := tn.newest()
		if _, err := tn.read(tn.from, to); err != nil {
			t.Fatal(err)
		}
		if tn.archive.disordered != 1 {
			t.Errorf("contradicted %d times", tn.archive.disordered)
		}
		tn.source.Begin(true, tn.from)
		for at := tn.archive.hole(tn.from, to); !at.IsZero(); at = tn.archive.hole(tn.from, to) {
			if _, err := tn.read(at, to); err != nil {
				t.Fatal(err)
			}
		}
		tn.kept(to)
		tn.seconds(0)
	})
}

// More than a page, created and updated in one second: rows that were seen are
// stored, and where the order is unstable the second is named.
func TestOneSecond(t *testing.T) {
	for _, order := range []simulator.Order{simulator.NewestFirst, simulator.UnstableTies, simulator.Shuffled} {
		in(t, func(t *testing.T) {
			tn := newTenant(t, simulator.Options{Incidents: 250}, func(b *simulator.Behaviour) { b.Order = order }, nil)
			time.Sleep(time.Hour)
			for range 230 {
				tn.sim.Create()
			}
			n := tn.all()
			if order == simulator.Shuffled {
				tn.seconds(1)
			} else if order == simulator.NewestFirst {
				tn.seconds(0)
			}
			if got := 480 - len(tn.missing(tn.newest())); got < 400 || n > 60 {
				t.Errorf("order %d: %d of 480 stored in %d calls", order, got, n)
			}
			t.Logf("order %d: %d calls, unread %d", order, n, len(tn.archive.unread))
		})
	}
}

// Bounds that are understood otherwise than they are documented.
func TestBoundsThatAreCoarse(t *testing.T) {
	for name, change := range map[string]func(*simulator.Behaviour){
		"lt is le": func(b *simulator.Behaviour) { b.LtIsLe = true },
		"le only":  func(b *simulator.Behaviour) { b.UpperBound = simulator.LeOnly },
		"ms":       func(b *simulator.Behaviour) { b.Resolution = time.Millisecond },
		"s":        func(b *simulator.Behaviour) { b.Resolution = time.Second },
		"ms, the literal": func(b *simulator.Behaviour) {
			b.Resolution, b.ResolutionOf = time.Millisecond, simulator.ResolutionOfLiteral
		},
		"s, the literal": func(b *simulator.Behaviour) {
			b.Resolution, b.ResolutionOf = time.Second, simulator.ResolutionOfLiteral
		},
		"ms, the row": func(b *simulator.Behaviour) {
			b.Resolution, b.ResolutionOf = time.Millisecond, simulator.ResolutionOfTime
		},
		"s, the row": func(b *simulator.Behaviour) {
			b.Resolution, b.ResolutionOf = time.Second, simulator.ResolutionOfTime
		},
		"s, and le": func(b *simulator.Behaviour) {
			b.Resolution, b.UpperBound = time.Second, simulator.LeOnly
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, order := range []simulator.Order{simulator.NewestFirst, simulator.ByID} {
				for _, density := range []simulator.Density{simulator.Uniform, simulator.NewestHalfHour, simulator.Bulky} {
					if testing.Short() && density != simulator.Uniform {
						continue
					}
					in(t, func(t *testing.T) {
						tn := newTenant(t, simulator.Options{Incidents: 900, Density: density, Seed: 3}, func(b *simulator.Behaviour) { b.Order = order; change(b) }, nil)
						n := tn.all()
						tn.seconds(0)
						if n > 60 {
							t.Errorf("order %d, density %d: %d calls", order, density, n)
						}
					})
				}
			}
		})
	}
}

// An incident that is larger than an answer may be, just updated, in a stretch
// that is healthy otherwise.
func TestOversized(t *testing.T) {
	for _, size := range []int{150 << 10, 1500 << 10} { // one alone may be 1 MiB
		for _, graph := range []bool{false, true} {
			if graph && testing.Short() {
				continue
			}
			in(t, func(t *testing.T) {
				tn := newTenant(t, simulator.Options{Incidents: 1000, Seed: 3}, nil, func(c *defender.Config) {
					c.MaxAnswer = 128 << 10
					if graph {
						ofGraph(c)
					}
				})
				id := tn.sim.RandomIDs(1)[0]
				time.Sleep(time.Hour)
				if _, err := tn.sim.Update(id); err != nil {
					t.Fatal(err)
				}
				tn.sim.Change(func(b *simulator.Behaviour) { b.Oversize = map[int64]int{id: size} })
				n := tn.all()
				if fetched := size < 1<<20; fetched {
					tn.seconds(0)
				} else if tn.seconds(1); tn.archive.unread[0].id != fmt.Sprint(id) || !strings.Contains(tn.archive.unread[0].why.Error(), "too large") {
					t.Errorf("unread %v", tn.archive.unread)
				}
				t.Logf("%d bytes, Graph %v: %d calls", size, graph, n)
				if n > 180 {
					t.Errorf("%d bytes, Graph %v: %d calls", size, graph, n)
				}
			})
		}
	}
}

// Many large incidents: pages get shorter, and longer again.
func TestManyOversized(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 150, Seed: 3}, nil, func(c *defender.Config) { c.MaxAnswer = 256 << 10 })
		ids := tn.sim.RandomIDs(12)
		tn.sim.Change(func(b *simulator.Behaviour) {
			b.Pretty = true
			b.Oversize = map[int64]int{ids[0]: 2300 << 10, ids[1]: 768 << 10}
			for _, id := range ids[2:] {
				b.Oversize[id] = 75 << 10
			}
		})
		tn.all()
		tn.seconds(1)
	})
}

// One that cannot be served, in a bulk edit of 300.
func TestPoisonInABulkEdit(t *testing.T) {
	for _, graph := range []bool{false, true} {
		for _, byID := range []bool{false, true} {
			in(t, func(t *testing.T) {
				tn := newTenant(t, simulator.Options{Incidents: 1000, Seed: 5}, nil, func(c *defender.Config) {
					if graph {
						ofGraph(c)
					}
				})
				time.Sleep(time.Hour)
				id := tn.sim.Bulk(300)[77].ID
				tn.sim.Change(func(b *simulator.Behaviour) { b.Poison, b.PoisonByID = map[int64]bool{id: true}, byID })
				n := tn.all()
				tn.seconds(1)
				missing := tn.missing(tn.newest())
				t.Logf("Graph %v, by id too %v: %d calls, %d missing", graph, byID, n, len(missing))
				if len(missing) > 1 || n > 180 || !graph && n > 45 {
					t.Errorf("Graph %v: %d are missing after %d calls", graph, len(missing), n)
				}
			})
		}
	}
}

// Several that cannot be served: a second each is named, at a bounded price.
func TestPoisons(t *testing.T) {
	for _, order := range []simulator.Order{simulator.NewestFirst, simulator.ByID} {
		for _, many := range []int{1, 2, 5} {
			in(t, func(t *testing.T) {
				tn := newTenant(t, simulator.Options{Incidents: 1000, Seed: 5}, func(b *simulator.Behaviour) { b.Order = order }, nil)
				ids := tn.sim.RandomIDs(many)
				tn.sim.Change(func(b *simulator.Behaviour) {
					b.Poison, b.PoisonByID = map[int64]bool{}, true
					for _, id := range ids {
						b.Poison[id] = true
					}
				})
				time.Sleep(2 * time.Minute)
				to, calls := tn.newest(), 0
				end := to
				for range 10 { // as the runs of a day would
					tn.source.Begin(false, tn.from)
					n, err := tn.read(tn.from, to)
					if calls += n; err == nil {
						break
					} else if !errors.Is(err, exporter.ErrEnough) {
						t.Fatal(err)
					}
					to = slices.MinFunc(tn.archive.unread, func(a, b unread) int { return a.From.Compare(b.From.Time) }).From.Time
				}
				tn.kept(end)
				t.Logf("order %d, %d poisons: %d calls, %d unread", order, many, calls, len(tn.archive.unread))
				if missing := tn.missing(tn.newest()); len(missing) != many {
					t.Errorf("order %d, %d poisons: %d missing, unread %v", order, many, len(missing), tn.archive.unread)
				}
				tn.seconds(many)
				if calls > 30+150*many {
					t.Errorf("order %d, %d poisons: %d calls", order, many, calls)
				}
			})
		}
	}
}

// No upper bound of any form.
func TestNoUpperBound(t *testing.T) {
	for _, churn := range []int{0, 2} {
		for _, poisons := range []int{0, 1} {
			in(t, func(t *testing.T) {
				tn := newTenant(t, simulator.Options{Incidents: 730, Seed: 5}, func(b *simulator.Behaviour) {
					b.UpperBound, b.ChurnPerCall, b.PoisonByID = simulator.NoUpperBound, churn, true
				}, nil)
				ids := tn.sim.RandomIDs(poisons)
				tn.sim.Change(func(b *simulator.Behaviour) {
					b.Poison = map[int64]bool{}
					for _, id := range ids {
						b.Poison[id] = true
					}
				})
				time.Sleep(2 * time.Minute)
				to := tn.newest()
				n, err := tn.read(tn.from, to)
				if err != nil {
					t.Fatal(err)
				}
				tn.kept(to)
				if missing := tn.missing(to); len(missing) > poisons {
					t.Errorf("churn %d: %d missing, unread %v", churn, len(missing), tn.archive.unread)
				}
				if poisons == 0 {
					tn.seconds(0)
				} else if len(tn.archive.unread) != 1 && churn == 0 {
					t.Errorf("unread %v", tn.archive.unread)
				}
				t.Logf("churn %d, %d poisons: %d calls", churn, poisons, n)
				if n > 22+40*poisons+70*churn {
					t.Errorf("churn %d, %d poisons: %d calls", churn, poisons, n)
				}
			})
		}
	}
}

// $skip that is empty above a number, answers that count nonsense, lists that
// end without a word: nothing is lost by it.
func TestPositionsThatLie(t *testing.T) {
	for name, change := range map[string]func(*simulator.Behaviour){
		"skip":         func(b *simulator.Behaviour) { b.SkipLimit = 100 },
		"skip refused": func(b *simulator.Behaviour) { b.SkipLimit, b.SkipRefused = 100, true },
		"wall":         func(b *simulator.Behaviour) { b.SkipWall, b.NoNextLink = 150, true },
		"count":        func(b *simulator.Behaviour) { b.Count = simulator.CountSaturating },
		"no bound":     func(b *simulator.Behaviour) { b.SkipLimit, b.UpperBound = 500, simulator.NoUpperBound },
	} {
		t.Run(name, func(t *testing.T) {
			for _, graph := range []bool{false, true} {
				in(t, func(t *testing.T) {
					tn := newTenant(t, simulator.Options{Incidents: 1000}, change, func(c *defender.Config) {
						if graph {
							ofGraph(c)
						}
					})
					time.Sleep(time.Hour)
					for range 230 {
						tn.sim.Create()
					}
					n := tn.all()
					t.Logf("Graph %v: %d calls, unread %v", graph, n, tn.archive.unread)
				})
			}
		})
	}
}

// Half of the answers are of a replica that is behind.
func TestReplicaThatLags(t *testing.T) {
	for seed := range uint64(6) {
		in(t, func(t *testing.T) {
			tn := newTenant(t, simulator.Options{Incidents: 600, Seed: seed, Span: 24 * time.Hour}, func(b *simulator.Behaviour) {
				b.ReplicaLag, b.ChurnPerCall, b.Latency = 20*time.Second, 2, time.Second
			}, nil)
			time.Sleep(10 * time.Minute)
			to := tn.newest()
			if _, err := tn.read(tn.from, to); err != nil {
				t.Fatal(err)
			}
			if tn.archive.disordered > 0 {
				t.Error("its order was doubted")
			}
			tn.kept(to)
			tn.seconds(0)
		})
	}
}

// Incidents vanish, and creation times change, before each answer.
func TestWhatVanishesTakesNothingWithIt(t *testing.T) {
	for seed := range uint64(4) {
		for _, order := range []simulator.Order{simulator.NewestFirst, simulator.ByID} {
			in(t, func(t *testing.T) {
				tn := newTenant(t, simulator.Options{Incidents: 900, Seed: seed, Density: simulator.Density(seed), Tie: 230}, func(b *simulator.Behaviour) { b.Order = order }, nil)
				tn.during(12, func() {
					for _, id := range tn.sim.RandomIDs(4) {
						_ = tn.sim.Vanish(id)
					}
					for _, id := range tn.sim.RandomIDs(4) {
						_, _ = tn.sim.Recreate(id)
					}
				})
				time.Sleep(2 * time.Minute)
				to := tn.newest()
				if _, err := tn.read(tn.from, to); err != nil {
					t.Fatal(err)
				}
				// Creation times that change do not move the update time: what was read
				// is archived in the state that it was served in.
				for _, v := range tn.missing(to) {
					if at, _ := time.Parse(time.RFC3339Nano, v.Updated); tn.archive.claimed(at) && len(tn.archive.lines[fmt.Sprint(v.ID)]) == 0 {
						t.Errorf("seed %d, order %d: incident %d, updated %s, is missing", seed, order, v.ID, v.Updated)
					}
				}
			})
		}
	}
}

// A row of the year 1, served against the filter, is a row.
func TestZeroTime(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 530}, nil, nil)
		id := tn.sim.RandomIDs(1)[0]
		tn.sim.Change(func(b *simulator.Behaviour) { b.ZeroTime = id })
		tn.all()
		tn.seconds(0)
		if len(tn.archive.lines[fmt.Sprint(id)]) != 2 {
			t.Error("the hostile row is not stored")
		}
	})
}

func TestSimulatorThatIgnoresTheFilter(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 150, Span: 24 * time.Hour}, func(b *simulator.Behaviour) { b.IgnoreFilter = true }, nil)
		now := tn.sim.Now().Truncate(time.Second)
		_, err := tn.read(now.Add(-2*time.Hour), now.Add(-time.Hour))
		var ignored *defender.IgnoredFilterError
		if !errors.As(err, &ignored) || len(tn.archive.claims) > 0 {
			t.Errorf("%v, claims %v", err, tn.archive.claims)
		}
	})
}

// Answers that are short or empty and have a link to the rest.
func TestLinks(t *testing.T) {
	for name, change := range map[string]func(*simulator.Behaviour){
		"short": func(b *simulator.Behaviour) { b.ShortLinks = 17 },
		"empty": func(b *simulator.Behaviour) { b.EmptyFirst = true },
		"both":  func(b *simulator.Behaviour) { b.ShortLinks, b.EmptyFirst = 17, true },
		"long":  func(b *simulator.Behaviour) { b.NextLink = true },
	} {
		t.Run(name, func(t *testing.T) {
			for _, order := range []simulator.Order{simulator.NewestFirst, simulator.ByID} {
				in(t, func(t *testing.T) {
					tn := newTenant(t, simulator.Options{Incidents: 400, Tie: 60}, func(b *simulator.Behaviour) { b.Order = order; change(b) }, nil)
					n := tn.all()
					tn.seconds(0)
					t.Logf("order %d: %d calls", order, n)
				})
			}
		})
	}
}

// A cap of any length, and one that differs from page to page.
func TestShortPages(t *testing.T) {
	for _, varies := range []bool{false, true} {
		for _, order := range []simulator.Order{simulator.NewestFirst, simulator.UnstableTies, simulator.ByID} {
			if varies && order == simulator.ByID {
				continue // assumed to be of one length where there is no order
			}
			in(t, func(t *testing.T) {
				tn := newTenant(t, simulator.Options{Incidents: 500, Tie: map[bool]int{false: 30}[varies], Seed: 2}, func(b *simulator.Behaviour) {
					b.PageCap, b.CapVaries, b.Order, b.ChurnPerCall = 23, varies, order, 1
				}, nil)
				tn.all()
				t.Logf("order %d, varies %v: unread %v", order, varies, tn.archive.unread)
			})
		}
	}
}

// What becomes visible late is found by reading again.
func TestLate(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 400, Span: 20 * 24 * time.Hour}, func(b *simulator.Behaviour) {
			b.LateBy, b.Latency = 10*time.Minute, 20*time.Second
		}, nil)
		time.Sleep(3 * time.Hour)
		tn.during(5, func() {
			for _, id := range tn.sim.RandomIDs(20) {
				_, _ = tn.sim.Update(id)
			}
		})
		time.Sleep(2 * time.Minute)
		to := tn.newest()
		for range 2 {
			if _, err := tn.read(tn.from, to); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Hour)
		}
		tn.kept(to)
	})
}

// What is no incident is named, and the others are stored.
func TestMalformed(t *testing.T) {
	for kind, want := range map[simulator.Malformation]string{
		simulator.WithoutID: "no usable incidentId", simulator.WithoutUpdated: "no usable lastUpdateTime", simulator.NotAnObject: "not an incident",
	} {
		in(t, func(t *testing.T) {
			tn := newTenant(t, simulator.Options{Incidents: 120, Seed: 8}, nil, nil)
			id := tn.sim.RandomIDs(1)[0]
			tn.sim.Change(func(b *simulator.Behaviour) { b.Malformed = map[int64]simulator.Malformation{id: kind} })
			n := tn.all()
			tn.seconds(1)
			if u := tn.archive.unread; len(u) != 1 || !strings.Contains(u[0].why.Error(), want) || !strings.Contains(u[0].why.Error(), "it begins") {
				t.Errorf("unread %v, want %q and an excerpt", u, want)
			}
			if missing := tn.missing(tn.newest()); len(missing) != 1 || n > 60 {
				t.Errorf("%d are missing after %d calls", len(missing), n)
			}
		})
	}
}

// Faults of every kind, now and then.
func TestFaults(t *testing.T) {
	for seed := range uint64(3) {
		in(t, func(t *testing.T) {
			tn := newTenant(t, simulator.Options{Incidents: 700, Seed: seed}, func(b *simulator.Behaviour) { b.FailRate = 0.15 }, nil)
			time.Sleep(2 * time.Minute)
			to := tn.newest()
			_, err := tn.read(tn.from, to)
			if err != nil {
				t.Fatal(err)
			}
			tn.kept(to)
		})
	}
}

// One question, once.
func TestOnce(t *testing.T) {
	in(t, func(t *testing.T) {
		tn := newTenant(t, simulator.Options{Incidents: 730}, nil, nil)
		tn.all() // pages are of 100
		final := tn.sim.Final()
		slices.SortFunc(final, func(a, b simulator.Version) int { return cmp.Compare(a.Updated, b.Updated) })
		at, _ := time.Parse(time.RFC3339Nano, final[60].Updated)
		once := func(from, to time.Time, audit, wantServed, wantWhole bool) {
			t.Helper()
			before, claims := tn.sim.Calls().API(), len(tn.archive.claims)
			served, whole, err := tn.source.Once(t.Context(), span(from, to), audit, tn.archive)
			if served != wantServed || whole != wantWhole || err != nil {
				t.Errorf("served %v, whole %v, %v", served, whole, err)
			}
			if n := tn.sim.Calls().API() - before; n > 2 { // one more finds out how long answers can be
				t.Errorf("%d calls", n)
			}
			if n := len(tn.archive.claims) - claims; tn.archive.disordered == 0 && (n == 1) != wantWhole {
				t.Errorf("%d claims", n)
			}
		}
		tn.source.Begin(false, tn.from)
		once(tn.from, at.Truncate(time.Second), false, true, true)
		once(tn.from, tn.newest(), false, true, false) // it is full
		// An audit that finds what was not archived contradicts the order; thrice is enough.
		for range 3 {
			tn.archive.lines = map[string]map[string]bool{}
			once(tn.from, at.Truncate(time.Second), true, true, true)
		}
		if tn.archive.disordered != 1 {
			t.Errorf("contradicted %d times", tn.archive.disordered)
		}
		tn.sim.Change(func(b *simulator.Behaviour) { b.Poison = map[int64]bool{final[30].ID: true} })
		once(tn.from, at.Truncate(time.Second), false, false, false)
	})
}
