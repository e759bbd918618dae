"""The words of the messages that are trained on."""

from phrases import Phrases, lines, words

TRAINING = Phrases(
    first_names=words(
        "Anna Ben Carla David Elena Felix Grace Hassan Ines Jonas Katya Liam Mei Nadia Oscar Paula Quentin Rosa Samuel "
        "Tara Umar Vera Walter Ximena Yusuf Zoe Alice Bruno Chloe Dmitri Emma Farah George Hanna Igor Julia Kwame Laura "
        "Martin Noor Olga Peter Rachel Stefan Thomas Ursula Victor Wendy Yara Amir Bianca Cedric Diana Erik Fiona Gabriel"
    ),
    last_names=words(
        "Schmidt Lopez Nakamura Okafor Petrov Rossi Smith Tanaka Ueda Varga Weber Yilmaz Zhang Andersen Brown Costa Dubois "
        "Evans Ferrari Garcia Hoffmann Ivanov Jensen Khan Larsen Meyer Nguyen Olsen Patel Quinn Reyes Santos Taylor Usman "
        "Vogel Wilson Xu Young Zimmer Adams Becker Clark Diaz Eriksson Fischer Green Haddad Ito Johansson Kowalski Lee "
        "Moreau Novak Ortiz Park Romano Silva Turner Wagner"
    ),
    products=lines(
        """
        desk lamp
        running shoes
        winter jacket
        laptop stand
        office chair
        phone case
        garden hose
        cook book
        yoga mat
        bicycle helmet
        suitcase
        wool blanket
        coffee machine
        keyboard
        """
    ),
    devices=lines(
        """
        coffee machine
        music player
        photo printer
        smart watch
        keyboard
        vacuum cleaner
        electric kettle
        tablet
        camera
        router
        """
    ),
    plans=("music plan", "cloud storage", "newspaper", "meal box", "phone plan", "gym pass", "video channel"),
    greetings=words("Hello, Hi, Hi! Hello! Hey,") + ("Good morning,", "Dear team,", "To whom it may concern,", "Hello support,"),
    introductions=lines(
        """
        My name is {sender}.
        I am {sender}.
        This is {sender}.
        {sender} here.
        From: {sender}.
        Customer: {sender}.
        I'm {sender}.
        You don't know me, I am {sender}.
        Sender: {sender}.
        Here writes {sender}.
        {sender} is my name.
        This message is from {sender}.
        """
    ),
    farewells=lines(
        """
        Regards, {sender}
        Thank you, {sender}
        Best wishes, {sender}
        Yours sincerely, {sender}
        Thanks! {sender}
        - {sender}
        {sender}
        Greetings, {sender}
        See you, {sender}
        Sincerely yours, {sender}
        With kind greetings, {sender}
        All the best, {sender}
        Name: {sender}
        Yours, {sender}
        Signature: {sender}
        """
    ),
    problems={
        "billing": lines(
            """
            You charged my card twice for the {product}.
            My invoice shows {amount}, but we agreed on less for the {product}.
            There is a payment on my bank statement that I do not recognise.
            The invoice for the {product} has the wrong VAT number.
            On {date} you took {amount} from my account, which is too much.
            Please send me a receipt for the {product}, I need it for my taxes.
            My credit card was declined although there is enough money on it.
            Why was the price of my plan raised without notice?
            The discount code was not applied to my bill.
            I was billed for the {product} that I never bought.
            I paid by bank transfer, but you say that the payment is missing.
            You sent me a payment reminder for a bill that I have paid.
            Can I pay for the {product} in three instalments?
            I would like to change the card that my monthly fee is charged to.
            The total on the bill does not match the price on your website.
            The direct debit of {amount} was taken two times.
            Please correct the address on my invoice of {date}.
            There is an extra fee of {amount} on my last statement that nobody explained.
            There are two entries for the same purchase on my account statement.
            I do not understand what the items on the bill stand for.
            Which services does the invoice of {date} cover?
            The company address is missing on the receipt that you issued.
            Our bookkeeping cannot use your invoice, the tax number is absent.
            The amount debited is higher than the one that was agreed.
            My voucher was accepted at checkout, yet the full price was taken.
            You keep sending reminders although I settled everything on {date}.
            The collection agency wants {amount}, but I owe you nothing.
            PayPal was debited, and your shop still shows the bill as open.
            Is it possible to pay by invoice instead of by credit card?
            My bank rejected the direct debit, how can I pay the outstanding {amount}?
            The monthly charge has risen to {amount} and nobody asked me.
            I was promised a rebate of {amount}, it does not appear on the bill.
            Why do you charge a handling fee?
            The currency on my invoice is wrong, it should be euros.
            Please explain the charge of {amount} on my card.
            My payment was refused at the last step although the card is valid.
            I need a copy of last year's invoices for my accountant.
            The late fee of {amount} is not justified, I paid in time.
            You deducted the money before the agreed day.
            I have paid the bill for the {product} twice by accident.
            The VAT was calculated wrongly on the bill for the {product}.
            My gift card balance was not taken off the total.
            Money for a plan that I do not have was withdrawn from my account.
            The cost on the invoice differs from the quote.
            Could the invoice be made out to my company?
            How much do I still owe you?
            The card on file has expired, where do I enter a new one for payments?
            I see a debit of {amount} from your firm and cannot place it.
            """
        ),
        "delivery": lines(
            """
            My parcel with the {product} has not arrived yet.
            The tracking page has said "in transit" since {date}.
            Where is my {product}? It should have come last week.
            The driver left my package with a neighbour whom I do not know.
            My order was sent to my old address.
            The {product} was shipped, but the box never reached me.
            The courier says that nobody was at home, but I was there all day.
            How long does shipping to Norway take?
            Only half of my shipment came, the {product} is missing.
            I have been waiting for the {product} for three weeks.
            The package arrived wet and torn because the carrier left it in the rain.
            Please tell me when my order will be dispatched.
            Can you ship the {product} to a pick-up station instead?
            The post office cannot find my parcel.
            According to the tracking number it was delivered, but I got nothing.
            Can the {product} be brought to my door before Friday?
            The expected arrival was {date} and still no van has come.
            Please give me the tracking number of my shipment.
            Nobody rang the bell, but the status says that delivery failed.
            The parcel was handed to the wrong person in my building.
            My package seems to be stuck in customs.
            When does the courier come to my town?
            The consignment was supposed to be here days ago.
            One box is here, the second one is still under way.
            The tracking has not been updated since {date}.
            Please forward the parcel to my office.
            I will be away, could the parcel be delivered a week later?
            The carrier put the box in front of the wrong house.
            I got a card from the postman, yet the depot does not have my parcel.
            The van drove past my house without stopping.
            Has my order left your warehouse yet?
            The shipment was stolen from my porch.
            The delivery date keeps being moved.
            Do you deliver on Saturdays?
            My address has a mistake, please correct it before you ship the {product}.
            The package is at a locker that I cannot open.
            The {product} was announced for {date} and nothing came.
            Somebody signed for my parcel, and it was not me.
            I paid for express, but the {product} is still on its way.
            The carton with the {product} got lost in the post.
            I wonder whether my {product} is on its way already.
            The courier wants an extra payment before he hands over the box.
            Your driver dropped the parcel and threw it into our garden.
            The freight company cannot reach me, please give them my new phone number.
            It has been a month and the postal service has not brought anything.
            Is there a faster way to get the {product} to me?
            A neighbour received my package by mistake.
            """
        ),
        "returns": lines(
            """
            I want to send the {product} back because it does not fit.
            Please send me a return label for the {product}.
            How many days do I have to return the {product}?
            I sent the {product} back on {date} and wait for my refund of {amount}.
            The {product} is not what I expected, I would like my money back.
            The colour of the {product} is wrong, can I exchange it?
            May I swap the {product} for a larger size?
            You have received my return, but the refund is still missing.
            I no longer want the {product} and would like to give it back.
            Where do I hand in the {product} that I am returning?
            I got the {product} as a gift and want to exchange it for another one.
            Who pays the postage if I send the {product} back to you?
            The wrong item was in the box, so I am sending it back to you.
            My return of the {product} was refused and I want to know why.
            I changed my mind about the {product} and want to return it unopened.
            The refund for the goods that I sent back is {amount} short.
            Can I bring the {product} back to one of your shops?
            I have lost the return slip for the {product}.
            I would rather have the {product} in green, can it be changed?
            My parcel with the returned {product} arrived at your depot, but no money came.
            I opened the {product}, may I still return it?
            Please e-mail me the papers for sending the {product} back.
            The {product} does not suit my flat, I want a refund.
            Is a refund possible without the original packaging?
            How long does a refund take after you have got the goods back?
            The size is wrong, I would like to trade it for another one.
            I returned two things, but only one was refunded.
            What is the address for returns?
            My wife does not like the {product}, we want to bring it back.
            The return period ends on {date}, is my parcel in time?
            I want an exchange, not a voucher, for the {product}.
            Since {date} you have had the goods back, and I wait for {amount}.
            Please collect the {product}, I am giving it back.
            You refunded {amount} only, the {product} cost more.
            Does the return label work at any post office?
            I took the {product} to the post to go back to you.
            The {product} looks different from the picture, so I want to return it.
            Can I send the {product} back without a receipt?
            I would like to hand the {product} back within the two weeks.
            Please refund me, the {product} is already back with you.
            The {product} was a double purchase, one goes back to you.
            May I exchange the {product} for a different model?
            The shop would not take my {product} back.
            Your refund went to a card that I no longer have.
            I ordered three sizes and return two of them.
            The gift did not please, so here it comes back; where is the form?
            When do I get my money for the {product} that I gave back?
            """
        ),
        "account access": lines(
            """
            I cannot log in to my account any more.
            I forgot my password and the reset mail does not come.
            My account is locked after too many attempts.
            The code for two-factor login is never sent to my phone.
            Somebody changed the e-mail address of my account.
            It says that my user name does not exist.
            The link to reset my password has expired.
            I have a new phone number and can no longer sign in.
            My login was blocked on {date} and I do not know why.
            Please unlock my profile, I cannot get in.
            I think that my account was hacked, I can't sign in any more.
            The website does not accept my password since {date}.
            I lost the phone with my authenticator and am shut out of my account.
            I am asked for a security question that I never set, so I cannot log on.
            My old mail address is closed and I cannot confirm my login.
            How do I change my password if I don't know the old one?
            The sign-in page tells me that my credentials are invalid.
            Please delete the wrong phone number, your login codes go to a stranger.
            Your site says that the password is incorrect, though it is right.
            I am locked out and the support code does not help.
            The mail with the new password is not in my inbox.
            I don't get the text message with the code to log in.
            My profile was suspended and I was not told why.
            A stranger is using my account, please block it.
            I no longer know with which address I signed up.
            The log-in page sends me in circles.
            How can I recover my user account?
            Two-step verification fails, the digits are always rejected.
            Since {date} every login attempt ends with "access denied".
            My user name was taken over by someone else.
            The confirmation mail to activate my profile never arrives.
            Can you reset the PIN of my customer login?
            I have been logged out and cannot get back in.
            My account has vanished, it says unknown user.
            The app wants a password that I never chose.
            Please help me to regain access to my profile.
            My fingerprint is no longer accepted for signing in.
            I need to change the e-mail that I use to sign in, but I can't open my profile.
            The verification code arrives too late and has expired.
            My children changed the password and we do not know it.
            I can no longer open my customer account since {date}.
            The captcha at login is never accepted.
            You blocked my user because of suspicious activity.
            The one-time code goes to my old number.
            Login with my Google account fails.
            Your system does not recognise me when I log in.
            """
        ),
        "technical fault": lines(
            """
            The {device} does not turn on any more.
            The app crashes every time I open it.
            The {device} makes a loud noise and then stops.
            Your website shows error 500 when I search.
            The screen of the {device} stays black.
            The {device} no longer connects to the wifi.
            After the update of {date} the app freezes at start.
            The battery of the {device} is empty after ten minutes.
            The {device} broke after two days, it gives off smoke.
            A button on the {device} is stuck and does nothing.
            The sync with my computer fails with an error message.
            The {device} has stopped working.
            The video has no sound since the last version.
            My {device} overheats and switches itself off.
            The sensor of the {device} shows wrong values.
            The program hangs while it saves a file.
            The software for the {device} cannot be installed on my computer.
            The {device} flickers and reacts to nothing that I press.
            Since the last firmware the {device} can't be used.
            The {device} smells of burnt plastic.
            The {device} won't charge.
            When I switch on the {device}, it goes off again at once.
            The {device} is broken, nothing lights up.
            The app shuts down when I open the menu.
            Your site loads very slowly and ends with a blank page.
            The {device} loses its Bluetooth connection all the time.
            There is a crack in the housing of the {device} and it leaks.
            The {device} shows an error code and blinks red.
            The {device} rattles when it runs.
            An update has ruined the {device}.
            I hear nothing but noise from the {device}.
            The {device} restarts again and again.
            The touch screen of the {device} does not react.
            Pages in the app do not load.
            The {device} can't find my phone.
            The software reports an unknown error at every start.
            The {device} is defective, the motor hums but does not turn.
            The map in your app is always empty.
            The {device} stopped in the middle of its work and is dead now.
            The cable of the {device} gets hot.
            The {device} has a short circuit, the fuse blows.
            The pictures of the {device} are blurred, the lens must be faulty.
            The alarm of the {device} goes off without reason.
            The upload in your app stops at half.
            The {device} no longer responds after the update.
            The remote of the {device} has no effect.
            """
        ),
        "cancellation": lines(
            """
            I want to cancel my subscription to the {plan}.
            Please cancel my order of the {product} before it is sent.
            I hereby terminate my contract as of {date}.
            How can I stop the automatic renewal of my plan?
            Please end my membership, I do not need it any more.
            I do not want to continue after the trial, please cancel it.
            Please confirm that my contract has ended.
            I ordered the {product} by mistake, please cancel the order.
            I would like to quit my plan at the end of the month.
            We are moving abroad and have to end our contract.
            Do not renew my subscription next year.
            I cancelled on {date}, but you have not confirmed it.
            What is the notice period to leave my contract?
            Please stop my monthly plan, I never use it.
            I withdraw from the purchase of the {product}, do not send it.
            Please close my contract for the {plan} early, it is too expensive for me.
            The button to cancel my plan is missing, so I do it by this mail.
            My father has died, please terminate his subscription.
            I am giving notice for my contract.
            Please take my name off the plan.
            My subscription has to stop before the test period is over.
            How can I get rid of my subscription?
            Cancel the purchase of the {product}, it has not been shipped.
            We do not use the {plan} any more, please end it.
            My contract should finish on {date}, please confirm.
            Please stop the {plan} with immediate effect.
            I want to leave your service.
            Please discontinue my yearly plan.
            I would like to unsubscribe from the {plan}.
            I hereby cancel my membership as of {date}.
            Can I leave the contract before the year is over?
            Do not extend my plan for another year.
            The trial was enough for me, I do not want to go on.
            End my premium membership please.
            I revoke my order of the {product}.
            I want out of the agreement that I signed on {date}.
            Please cancel everything that I ordered yesterday.
            Switch off the renewal of the {plan}.
            I am too old for the {plan}, kindly terminate it.
            Is it possible to withdraw from the contract?
            Stop my order, I do not need the {product} now.
            When is the earliest date to end my contract?
            Our club closes, so we resign from the {plan}.
            Delete my order of the {product}, I changed my mind before shipping.
            My notice for the {plan} was sent on {date}; when does it end?
            """
        ),
    },
    both=lines(
        """
        I bought it on {date} for {amount}.
        The order was placed on {date} and cost {amount}.
        I paid {amount} on {date}.
        Date of purchase: {date}, price: {amount}.
        It is about the order over {amount} of {date}.
        My last payment was {amount} on {date}.
        ({date}, {amount})
        The contract of {date} costs me {amount}.
        {amount} went to you on {date}.
        On {date} I transferred {amount}.
        Bought {date}, paid {amount}.
        The amount was {amount}, the day {date}.
        I have spent {amount} in your shop on {date}.
        It concerns {amount} and the date {date}.
        Price {amount}; ordered {date}.
        Since {date} I have paid {amount} for it.
        The bill of {date} said {amount}.
        {amount}, {date}.
        """
    ),
    dates=lines(
        """
        I bought it on {date}.
        This has been so since {date}.
        It happened on {date}.
        The order is dated {date}.
        Date: {date}.
        I first wrote to you on {date}.
        It started on {date}.
        I mean the order of {date}.
        I have been a customer since {date}.
        All began {date}.
        That was on {date}.
        I noticed it on {date}.
        """
    ),
    amounts=lines(
        """
        It cost me {amount}.
        I paid {amount} for it.
        It is about {amount}.
        Amount: {amount}.
        The price was {amount}.
        That is {amount}.
        I lost {amount}.
        It is worth {amount}.
        You have {amount} of mine.
        The value is {amount}.
        In total {amount}.
        """
    ),
    invented=0.5,
    given=0.65,
    asides=lines(
        """
        My order number is {order}.
        Customer number {order}.
        Your colleague {other} could not help me.
        I spoke to {other} on the phone.
        The reference is {order}.
        {other} told me to write to you.
        Case {order}.
        My wife {other} wrote to you as well.
        Invoice no. {order}.
        A man called {other} gave me your address.
        My neighbour {other} got the same answer.
        Serial number {order}.
        """
    ),
    requests=lines(
        """
        Please help.
        What can I do?
        Please look into it.
        I am waiting for your answer.
        Please reply soon.
        Can you fix this?
        This is very annoying.
        Please check this for me.
        """
    ),
)
